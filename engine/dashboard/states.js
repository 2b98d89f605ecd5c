// What a state means to whoever looks: colour follows from this, and never says anything that the word does not.

const KINDS = {
    good: ["ready", "serving", "ok", "won", "serves", "healthy", "connected"],
    busy: ["starting", "loading", "warming", "looking", "waiting", "running", "swapping", "trying", "closing", "leaving"],
    bad: ["failed", "dead", "away", "no memory", "stalled", "gone"],
    warn: ["degraded", "refused", "lost", "drained"],
};
const BY_STATE = new Map(Object.entries(KINDS).flatMap(([kind, states]) => states.map((state) => [state, kind])));

export const kindOf = (state) => BY_STATE.get(String(state).toLowerCase()) ?? "quiet";
