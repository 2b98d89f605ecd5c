"""A model of the shared-memory protocol, explored state by state with SIGKILL between any two steps.

`state` is what there is; `frontend`, `instance`, `supervisor`, `faults` say what may happen next; `explore` visits
every interleaving. Each rule of the protocol is a switch in `machine.Rules`: with all of them nothing goes wrong,
and `dropped` says what does without each one.

Whoever changes the protocol changes this first. `python -m tests.model --help` says how to look around.

Left out, and tested on real processes instead: several threads in one frontend, ageing and deadlines, priorities, two
batches staged by one instance, payloads of many words, adoption by a new supervisor, store buffers of the machine.
"""
