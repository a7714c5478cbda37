// JSON from the server, which is asked again where it is busy.
const TRIES = 5;

const pause = (seconds) => new Promise((go) => { setTimeout(go, 1000 * seconds); });

// A function of a path and fetch's options; headers() are sent along, locked() hears that they are not enough.
export function asking(headers, locked) {
  return async function json(path, options = {}, tries = TRIES) {
    const response = await fetch(path, { ...options, headers: headers() });
    if (response.status === 429 && tries) {
      await pause(Number(response.headers.get("Retry-After") ?? 1));
      return json(path, options, tries - 1);
    }
    const found = await response.json().catch(() => ({ error: "no JSON came back" }));
    if (response.status === 401) locked();
    if (!response.ok) throw new Error(`${response.status}: ${found.error}`);
    return found;
  };
}
