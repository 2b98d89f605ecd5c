// What the state of everything comes to: one word, and a line for each thing that needs attention.

import { duration, lastLine } from "./format.js";

const STALLED_S = 3; // as /healthz has it
const BOOTED_WITHIN_S = 60; // until then an instance that is not ready yet is no trouble; as nightscan status has it

// {kind, word, troubles: [text]} of the engine's status.
export function verdict(status) {
    const deployments = status.deployments ?? [];
    const troubles = [
        ...stalled(status),
        ...(status.health?.troubles ?? []).map(({ step, error, count }) => `${step}: ${error} (${count} times, tried again)`),
        ...(status.stores?.reasons ?? []),
        ...deployments.flatMap(deploymentTroubles),
    ];
    return { ...summary(status, deployments, troubles), troubles };
}

function summary(status, deployments, troubles) {
    if (status.age_s > STALLED_S) return { kind: "bad", word: "Stalled" };
    if (!deployments.length) return { kind: "quiet", word: "Nothing deployed" };
    const states = deployments.map((each) => each.state);
    if (!states.includes("ready")) {
        if (states.includes("drained")) return { kind: "warn", word: "Drained" };
        return states.includes("failed") ? { kind: "bad", word: "Failed" } : { kind: "busy", word: "Starting" };
    }
    if (troubles.length || states.includes("failed")) return { kind: "warn", word: "Degraded" };
    return { kind: "good", word: "Serving" };
}

function stalled(status) {
    if (!(status.age_s > STALLED_S)) return [];
    return [`The supervisor has been stuck for ${duration(status.age_s)}. Requests go on being answered; `
        + "what nightscan doctor prints says more."];
}

function deploymentTroubles(deployment) {
    const name = deployment.deployment;
    if (deployment.state === "failed") return [`${name} failed: ${lastLine(deployment.reason)}`];
    if (deployment.state === "drained") return [`${name} is drained: it takes nothing new`];
    const serving = (deployment.versions ?? []).find((each) => each.state === "serving");
    return serving ? instanceTroubles(name, serving) : [];
}

function instanceTroubles(name, version) {
    if (version.ready >= version.pool_size) return [];
    const why = lastLine(version.last_death || version.reason);
    const isLate = (version.instances ?? []).some((each) => each.state !== "ready" && each.uptime_s > BOOTED_WITHIN_S);
    if (!why && !isLate) return [];
    return [`${name}: ${version.ready} of ${version.pool_size} instances ready${why ? ` (${why})` : ""}`];
}
