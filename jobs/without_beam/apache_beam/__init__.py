"""Stands in front of Beam where Flink runs Python inside its own process, which needs none of it.

PyFlink imports Beam to see whether it is there, and goes on without: 3.5 s of CPU and 1,200 modules less at each start.
"""

raise ImportError("Python inside the TaskManager does without Beam")
