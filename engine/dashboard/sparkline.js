// A line over time with its area, and the same in words for whoever cannot see it.

import { makeSvg, setAttribute, setText } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 600;
const HEIGHT = 96;
const SMOOTHED = 3; // samples: one alone jumps by whatever the moment of asking cut off

export class Sparkline {
    // `spanMs` wide; `name`: of what it shows, for its text.
    constructor(place, { spanMs, name }) {
        this.spanMs = spanMs;
        this.name = name;
        this.svg = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" });
        this.title = makeSvg("title");
        this.area = makeSvg("path", { class: "spark-area" });
        this.line = makeSvg("path", { class: "spark-line", "vector-effect": "non-scaling-stroke" });
        const grid = [0.25, 0.5, 0.75].map((share) => makeSvg("path", {
            class: "spark-grid",
            d: `M0 ${HEIGHT * share}H${WIDTH}`,
            "vector-effect": "non-scaling-stroke",
        }));
        this.svg.append(this.title, ...grid, this.area, this.line);
        place.append(this.svg);
    }

    // `rates`: [{atMs, rate}], the oldest first. The highest rate shown, or null.
    draw(rates) {
        const points = smooth(rates);
        const highest = Math.max(0, ...points.map((each) => each.rate));
        const top = highest > 0 ? highest * 1.1 : 1;
        const endMs = points.at(-1)?.atMs ?? 0;
        const places = points.map(({ atMs, rate }) => [
            (WIDTH * (1 - (endMs - atMs) / this.spanMs)).toFixed(1),
            (HEIGHT - 1 - (HEIGHT - 2) * (rate / top)).toFixed(1),
        ]);
        const path = places.map(([x, y]) => `${x} ${y}`).join("L");
        setAttribute(this.line, "d", path && `M${path}`);
        setAttribute(this.area, "d", path && `M${places[0][0]} ${HEIGHT}L${path}L${WIDTH} ${HEIGHT}Z`);
        setText(this.title, this.words(points, highest));
        return points.length ? highest : null;
    }

    words(points, highest) {
        if (!points.length) return `${this.name}: nothing measured yet`;
        const lowest = Math.min(...points.map((each) => each.rate));
        return `${this.name} over the last two minutes: now ${number(points.at(-1).rate)}, `
            + `lowest ${number(lowest)}, highest ${number(highest)}`;
    }
}

function smooth(rates) {
    const known = rates.filter((each) => each.rate !== null);
    return known.map(({ atMs }, index) => {
        const near = known.slice(Math.max(0, index - SMOOTHED + 1), index + 1);
        return { atMs, rate: near.reduce((sum, each) => sum + each.rate, 0) / near.length };
    });
}
