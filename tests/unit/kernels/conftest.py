"""The tests in interpreted/ need Triton's interpreter from the start of the process; test_interpreted.py starts one."""

import os

collect_ignore = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["interpreted"]
