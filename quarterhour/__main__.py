"""`python -m quarterhour` is the console script `quarterhour`."""

from quarterhour.cli import main

if __name__ == "__main__":
    main()
