// Segue in a web page: sends the events of a visitor to the server, and gets recommendations. No dependencies.
//
//   <script src="https://recommender.example/segue.js"></script>
//   <script>
//     const segue = Segue({ url: "https://recommender.example", key: "A KEY FOR INGEST AND SERVE" });
//     segue.event("85123A");                                        // the visitor views an item
//     const list = await segue.recommend({ k: 5, placement: "basket" });
//     for (const item of list.items) show(item.id, item.title);     // a click: segue.click(list, item.id)
//   </script>
(function (root) {
  "use strict";

  // A visitor without an account is a session: a random id, kept by the browser while its tab is open.
  function sessionId() {
    const randomId = () => {
      const bytes = root.crypto.getRandomValues(new Uint8Array(16));
      return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
    };
    try {
      const stored = root.sessionStorage.getItem("segue-session");
      if (stored) return stored;
      const id = randomId();
      root.sessionStorage.setItem("segue-session", id);
      return id;
    } catch (error) {
      return randomId(); // no storage: every page is a new session
    }
  }

  function Segue(options) {
    const url = (options && options.url ? options.url : "").replace(/\/$/, "");
    const key = options && options.key;
    const user = {};
    if (options && options.user) user.user_id = String(options.user);
    const session = (options && options.session) || sessionId();

    async function post(path, body, keepalive) {
      const headers = { "Content-Type": "application/json" };
      if (key) headers.Authorization = "Bearer " + key;
      const request = { method: "POST", headers: headers, body: JSON.stringify(body), keepalive: Boolean(keepalive) };
      const response = await fetch(url + path, request);
      const content = await response.json();
      if (!response.ok) {
        const error = new Error(content.detail || "The recommender responded with status " + response.status + ".");
        error.status = response.status;
        throw error;
      }
      return content;
    }

    function toEvent(item, fields) {
      const event = Object.assign({ item_id: String(item), session_id: session }, user, fields);
      // With an id, so that an event that the browser sends twice is stored once.
      if (!event.event_id) event.event_id = session + "-" + Date.now() + "-" + Math.random().toString(36).slice(2);
      return event;
    }

    return {
      session: session,
      // Store an event: {event: "purchase", value: 9.9, ...}; the default event type is "view".
      event: (item, fields) => post("/v1/events", toEvent(item, fields), true),
      // Store a click on an item of a list; it is attributed to that list.
      click: (list, item, fields) =>
        post("/v1/events", toEvent(item, Object.assign({ recommendation_id: list.recommendation_id }, fields)), true),
      // Get recommendations: {k, placement, exclude, allow}.
      recommend: (fields) =>
        post("/v1/recommend", Object.assign(user.user_id ? {} : { session_id: session }, user, fields)),
      // Get similar items: {k}.
      similar: (item, fields) => post("/v1/similar", Object.assign({ item_id: String(item) }, fields)),
    };
  }

  if (typeof module === "object" && module.exports) module.exports = Segue;
  else root.Segue = Segue;
})(typeof globalThis === "object" ? globalThis : this);
