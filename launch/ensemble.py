"""`thorax ensemble` from this checkout."""

if __name__ == "__main__":
    from _start import run

    run("ensemble")
