"""What keeps the suite itself honest: scheduling, time limits, and the processes that tests start."""
