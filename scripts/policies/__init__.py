"""Who may do what on AWS, as data: set-up, doctor, documentation and tests are made from it."""
