"""How quick agents are: `run.py bench`, and what takes turns and is counted for it."""
