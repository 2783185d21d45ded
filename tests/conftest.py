"""What holds for every test."""

from inpaint_server.settings import let_waiting_threads_sleep

# Before any test module imports torch: its threads must not spin on the cores that servers under test need.
let_waiting_threads_sleep()
