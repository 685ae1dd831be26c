"""AWS's Debugger and Profiler rules, rebuilt from their documentation, and what runs them beside a job."""
