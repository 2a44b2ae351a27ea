// Segue in a web page: tells the server what a visitor does, and asks it what may come next. No dependencies.
//
//   <script src="https://recommender.example/segue.js"></script>
//   <script>
//     const segue = Segue({ url: "https://recommender.example", key: "A KEY FOR INGEST AND SERVE" });
//     segue.event("85123A");                                        // the visitor looks at an item
//     const list = await segue.recommend({ k: 5, placement: "basket" });
//     for (const item of list.items) show(item.id, item.title);     // a click: segue.click(list, item.id)
//   </script>
(function (root) {
  "use strict";

  // A visitor without an account is a session: a random name, kept in the browser for as long as its tab is open.
  function visitor() {
    const fresh = () => {
      const bytes = root.crypto.getRandomValues(new Uint8Array(16));
      return Array.from(bytes, (one) => one.toString(16).padStart(2, "0")).join("");
    };
    try {
      const kept = root.sessionStorage.getItem("segue-session");
      if (kept) return kept;
      const name = fresh();
      root.sessionStorage.setItem("segue-session", name);
      return name;
    } catch (error) {
      return fresh(); // no storage: every page begins anew
    }
  }

  function Segue(options) {
    const url = (options && options.url ? options.url : "").replace(/\/$/, "");
    const key = options && options.key;
    const who = {};
    if (options && options.user) who.user_id = String(options.user);
    const session = (options && options.session) || visitor();

    async function ask(path, body, keep) {
      const headers = { "Content-Type": "application/json" };
      if (key) headers.Authorization = "Bearer " + key;
      const sent = { method: "POST", headers: headers, body: JSON.stringify(body), keepalive: Boolean(keep) };
      const response = await fetch(url + path, sent);
      const answer = await response.json();
      if (!response.ok) {
        const error = new Error(answer.detail || "The recommender answered " + response.status + ".");
        error.status = response.status;
        throw error;
      }
      return answer;
    }

    function happened(item, more) {
      const event = Object.assign({ item_id: String(item), session_id: session }, who, more);
      // Named here, so that a browser that sends it twice is counted once.
      if (!event.event_id) event.event_id = session + "-" + Date.now() + "-" + Math.random().toString(36).slice(2);
      return event;
    }

    return {
      session: session,
      // The visitor did something with an item: {event: "purchase", value: 9.9, ...}; a view if nothing is said.
      event: (item, more) => ask("/v1/events", happened(item, more), true),
      // The visitor chose an item of a list: the click counts for that list.
      click: (list, item, more) =>
        ask("/v1/events", happened(item, Object.assign({ recommendation_id: list.recommendation_id }, more)), true),
      // What comes next: {k, placement, exclude, allow}.
      recommend: (more) => ask("/v1/recommend", Object.assign(who.user_id ? {} : { session_id: session }, who, more)),
      // What goes with an item.
      similar: (item, more) => ask("/v1/similar", Object.assign({ item_id: String(item) }, more)),
    };
  }

  if (typeof module === "object" && module.exports) module.exports = Segue;
  else root.Segue = Segue;
})(typeof globalThis === "object" ? globalThis : this);
