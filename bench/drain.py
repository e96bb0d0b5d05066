"""How fast is a full queue emptied, when nobody wants results?"""

from common.draining import drain

if __name__ == "__main__":
    drain("drain", "Drain, results off, two worker processes", results=False)
