// Every form of the model that was tried: how fast it is, how well it agrees, and why it serves or does not.

import { UNKNOWN, count, number, share } from "./format.js";

export const TUNING_COLUMNS = [
    { title: "Form", of: (row) => row.form },
    { title: "State", of: (row) => row.state, as: "state" },
    { title: "Windows/s", of: (row) => number(row.items_per_s), as: "number" },
    { title: "Largest difference", of: (row) => largest(row.agreement), as: "number" },
    { title: "Same answer", of: (row) => agreed(row.agreement), as: "number" },
    { title: "Why", of: (row) => row.why },
];

const WORDS = {
    off: "Off", idle: "Idle", looking: "Looking for earlier results", waiting: "Waiting for another model's trials",
    running: "Trials are made", swapping: "Starting the form that won", won: "A faster form serves",
    none: "The model serves as it came", failed: "Failed",
};

export function tuningNote(tuning) {
    if (!tuning) return "";
    const faster = tuning.state === "won" && tuning.speedup ? `, ${number(tuning.speedup)} times as fast` : "";
    const why = tuning.reason ? `: ${tuning.reason}` : "";
    const now = WORDS[tuning.state] ?? tuning.state;
    const stage = tuning.stage ? `, ${tuning.stage}` : "";
    const compared = tuning.sounds ? `. Sounds: ${tuning.sounds}` : "";
    return `${now}${stage}${faster}${why}${compared}`;
}

export function candidateRows(tuning) {
    return (tuning?.candidates ?? []).map((candidate) => {
        const serves = candidate.form === tuning.form;
        return { ...candidate, state: serves ? "serves" : candidate.state, why: why(candidate) };
    });
}

function why(candidate) {
    const needs = candidate.needs ? `precision=${candidate.needs} would let it serve` : "";
    return [candidate.refused, needs].filter(Boolean).join("; ");
}

function largest(agreement) {
    if (!agreement) return UNKNOWN;
    return agreement.largest === 0 ? "none" : agreement.largest.toExponential(1);
}

const agreed = (agreement) => (agreement ? `${share(agreement.top1)} of ${count(agreement.windows)}` : UNKNOWN);
