"""How fast is a full queue emptied, when every result is stored?"""

from common.draining import drain

if __name__ == "__main__":
    drain("drain_with_results", "Drain, every result stored, two worker processes", results=True)
