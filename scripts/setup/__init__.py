"""`byoc setup`: the role, the bucket and the repositories that a project needs in an AWS account."""
