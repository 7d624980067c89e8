"""Keeps a program warm: imports MODULE once, and calls its main(arguments) for each job that standard input names.

    python worker.py MODULE ARGUMENTS…

One JSON line a job, and one in answer. What the program prints goes to standard error.
"""

import importlib
import json
import os
import sys
import traceback


def do(main, arguments):
    try:
        answer = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        return {"ok": code == 0, "exit": code} | ({"error": str(end.code)} if code else {})
    except Exception as error:
        traceback.print_exc()
        return {"ok": False, "error": f"{type(error).__name__}: {error}"}
    return {"ok": True} | ({"answer": answer} if answer is not None else {})


def work():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.path.insert(0, os.getcwd())
    main = importlib.import_module(sys.argv[1]).main
    for line in sys.stdin:
        job = json.loads(line)
        arguments = [argument.replace("{actor}", job["actor"]) for argument in sys.argv[2:]]
        print(json.dumps(do(main, arguments)), file=answers, flush=True)


if __name__ == "__main__":
    work()
