"""Stands in for sagemaker-training's C extension of this name where there is no compiler.

The extension is a shared library that `mpirun` preloads to intercept gethostname(). The toolkit imports it
in every mode and asks for its `__file__` under MPI only, so an empty module is enough everywhere else.
`make setup` copies this file into .venv; the training image has the real extension.
"""
