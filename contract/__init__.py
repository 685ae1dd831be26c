"""What every side agrees on: names, formats and limits. Standard library only, so that each room may
import it."""
