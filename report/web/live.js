// One stream of events for the page that is shown. It is closed while the tab is hidden: a browser keeps six
// connections to a server at most, for all tabs together.
import { ask, trouble } from "./dom.js";

const AGAIN = 1000;

/**
 * Calls `update(documents, changed, lines, fresh)` with each change: `documents` is a Map, `changed` a Set of keys,
 * `fresh` whether this is the first after a (re)connection, when the log's lines begin anew.
 */
export function watch(path, update) {
  let source = null, timer = 0, over = false, closed = false;
  let documents = new Map(), fresh = true;

  function open() {
    clearTimeout(timer);
    if (source || over || closed) return;
    fresh = true;
    source = new EventSource(path);
    source.onmessage = (event) => take(JSON.parse(event.data));
    source.onerror = lost;
  }

  function shut() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function take(message) {
    if ("trouble" in message) trouble(message.trouble);
    const changed = new Set();
    const begins = fresh && (message.documents || message.lines);
    if (begins && message.documents) {
      for (const key of documents.keys()) if (!(key in message.documents)) { documents.delete(key); changed.add(key); }
    }
    for (const [key, value] of Object.entries(message.documents ?? {})) { documents.set(key, value); changed.add(key); }
    for (const key of message.gone ?? []) { documents.delete(key); changed.add(key); }
    if (changed.size || message.lines) update(documents, changed, message.lines ?? [], Boolean(begins));
    if (begins) fresh = false;
    if (message.ended) { over = true; shut(); }
  }

  async function lost() {
    shut();
    if (closed || over) return;
    try {
      await ask("/api/project");
    } catch (error) {
      if (!closed) trouble(error);
    }
    if (!closed && !document.hidden) timer = setTimeout(open, AGAIN);
  }

  function seen() {
    if (document.hidden) shut();
    else open();
  }

  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    closed = true;
    document.removeEventListener("visibilitychange", seen);
    shut();
  };
}
