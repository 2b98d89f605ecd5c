"""A model of the shared-memory protocol, explored state by state with SIGKILL between any two steps.

`state` is what there is; `frontend`, `instance` (by way of `taking`, `computing`, `replying`), `supervisor` and
`faults` say what may happen next; `explore` visits every interleaving. Each rule of the protocol is a switch in
`machine.Rules`: with all of them nothing goes wrong, and `dropped` says what does without each one. An instance may
have two batches in flight, and then chooses freely whether it begins another or finishes the oldest; a frontend may
ring at any moment up to the end of its turn.

Whoever changes the protocol changes this first. `python -m tests.model --help` says how to look around.

Left out, and tested on real processes instead: several threads in one frontend, ageing and deadlines, priorities,
copies to a device that outlast their call, payloads of many words, adoption by a new supervisor, store buffers of the
machine, and the looks once a second that would hide a lost wake-up.
"""
