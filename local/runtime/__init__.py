"""How a container's work is run on this machine: one interface (`container`), one module per way.

`process` runs the image's commands as plain processes in a private folder; `docker` runs containers.
"""
