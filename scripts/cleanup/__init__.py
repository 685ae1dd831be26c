"""`byoc delete --all`: everything of a project is found, deleted, and looked for again."""
