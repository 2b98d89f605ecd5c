// The admin token, if the page was opened with one in its fragment (`nightscan dashboard` does that). It lives in this
// variable alone: not in the address bar, the history, a cookie or any storage.

let token = "";
let isKnown = false; // the engine itself has answered to it, no proxy that would take it for a password

export function takeToken() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given === null) return;
    token = given;
    isKnown = false;
    history.replaceState(null, "", location.pathname + location.search);
}

export const hasToken = () => token !== "";

// It was refused: asking again with it would only fill a log.
export function dropToken() {
    token = "";
    isKnown = false;
}

export function keepToken() {
    isKnown = true;
}

// How to ask with it. Without credentials: a proxy's password would not go with the token, and the browser would ask
// for it anew.
export const withToken = () => ({ headers: { Authorization: `Bearer ${token}` }, credentials: "omit" });

// The same for what is told without it too, but less of it.
export const withKnownToken = () => (isKnown ? withToken() : {});
