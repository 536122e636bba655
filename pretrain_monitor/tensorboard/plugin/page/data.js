// What the server knows. One request of a kind at a time: an answer that nobody waits for any more is dropped.

const running = new Map();

export async function ask(route, parameters = {}, kind = route) {
  running.get(kind)?.abort();
  const control = new AbortController();
  running.set(kind, control);
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined));
  try {
    const response = await fetch(`./${route}?${query}`, {signal: control.signal, cache: "no-store"});
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error ?? `${response.status} ${response.statusText}`);
    return answer;
  } catch (error) {
    if (error.name === "AbortError") return null;
    throw error;
  } finally {
    if (running.get(kind) === control) running.delete(kind);
  }
}
