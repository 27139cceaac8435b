// Shows each beat that the server sends, and says so when none comes.

import { ceiling, draw, SECONDS } from "./curve.js";
import { replay } from "./replay.js";
import { ago, conflict, duration, percent, rate, whole } from "./words.js";

const SILENCE_MS = 8000; // a beat comes each second, or in an outage of its servers each few
const AGAIN_MS = 3000;
const at = (id) => document.getElementById(id);
const put = (id, text) => {
  if (at(id).textContent !== text) at(id).textContent = text;
};
const show = (id, shown) => {
  at(id).hidden = !shown;
};
let points = []; // [time, orders per second, jobs]

const cell = (tag, text, name = "") => {
  const made = document.createElement(tag);
  if (tag === "th") made.scope = "row";
  made.className = name;
  made.append(text);
  return made;
};

// In the place of what is not there: `none`, or that it is not known.
const showNone = (id, known, shown) => {
  put(id, known ? at(id).dataset.none : "not known");
  show(id, shown);
};

// Rows by key: one that stays is filled again and keeps its place, and with it the focus. No items: they are not known.
const rows = (id, known, keyOf, cellsOf) => {
  const items = known ?? [];
  const body = at(id).tBodies[0];
  const old = new Map([...body.rows].map((row) => [row.dataset.key, row]));
  items.forEach((item, index) => {
    const key = String(keyOf(item));
    const row = old.get(key) ?? document.createElement("tr");
    old.delete(key);
    row.dataset.key = key;
    const content = JSON.stringify(item);
    if (row.dataset.content !== content) {
      row.dataset.content = content;
      row.replaceChildren(...cellsOf(item));
    }
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
  });
  old.forEach((row) => row.remove());
  show(id, items.length > 0);
  showNone(`${id}-none`, known !== null, items.length === 0);
};

const bar = (share) => {
  const made = cell("span", "");
  made.style.inlineSize = `${100 * share}%`;
  const frame = cell("span", made, "bar");
  frame.setAttribute("aria-hidden", "true");
  return frame;
};

const showCurve = (name, index, now, say) => {
  const peak = draw(at(`${name}-curve`), points.map((point) => [point[0], point[index]]), now);
  put(`${name}-peak`, say(peak));
  return peak;
};

const showCurves = (now) => {
  points = points.filter(([time]) => time > now - SECONDS);
  const peak = showCurve("rate", 1, now, rate);
  put("rate-top", peak ? whole(ceiling(peak)) : "");
  showCurve("jobs", 2, now, whole);
};

const showLatency = (latency) => {
  for (const name of ["p50", "p95", "p99"]) {
    put(name, latency ? duration(latency[name]) : "–");
    at(`${name}-bar`).style.inlineSize = latency ? `${(100 * latency[name]) / latency.p99}%` : "0";
  }
};

const showOutcomes = (outcomes) => {
  const all = outcomes?.reduce((sum, { count }) => sum + count, 0);
  const name = ({ outcome, reason }) => (reason ? `${outcome}: ${reason}` : outcome);
  const shared = outcomes?.map((one) => ({ ...one, share: one.count / all }));
  rows("outcomes", shared ?? null, name, (one) => {
    const named = cell("th", name(one).replaceAll("_", " "), `outcome ${one.outcome}`);
    named.append(bar(one.share));
    return [named, cell("td", whole(one.count), "figure"), cell("td", percent(one.share), "figure")];
  });
};

const showConflicts = (conflicts) =>
  rows("conflicts", conflicts, ({ code, statement }) => `${code}:${statement}`, (one) => [
    cell("th", conflict(one.code)),
    cell("td", one.statement, "code"),
    cell("td", whole(one.count), "figure"),
  ]);

const showWorkers = (workers, now) => {
  const told = workers?.map((one) => ({ ...one, up: duration(Math.max(0, now - one.started_at)) }));
  put("alive", workers ? whole(workers.filter(({ alive }) => alive).length) : "–");
  rows("workers", told ?? null, ({ id }) => id, (one) => [
    cell("th", `${one.host}:${one.pid}`, one.alive ? "alive" : "gone"),
    cell("td", one.alive ? one.up : "gone", "close"),
    cell("td", one.alive ? rate(one.orders_per_second) : "–", "figure"),
  ]);
};

const showProducts = (products) => {
  const hottest = products?.hottest ?? null;
  const most = hottest?.[0]?.orders;
  const told = hottest?.map((one) => ({ ...one, share: one.orders / most }));
  put("products-about", `of the ${hottest ? whole(products.orders) : "–"} orders placed within the last minute`);
  rows("products", told ?? null, (one) => one.product_id, (one) => {
    const link = document.createElement("a");
    link.href = `/product/${one.product_id}`;
    link.append(one.name ?? "product", " ", cell("span", `#${one.product_id}`, "quiet"));
    const named = cell("th", link);
    named.append(bar(one.share));
    return [named, cell("td", whole(one.orders), "figure")];
  });
};

const showLetters = (letters) => {
  put("letters-count", letters ? whole(letters.count) : "–");
  at("letters").closest("section").classList.toggle("bad", letters?.count > 0);
  rows("letters", letters?.oldest ?? null, (one) => `${one.job_id} ${one.buried_at}`, (one) => {
    const button = cell("button", "Replay");
    button.type = "button";
    button.setAttribute("aria-label", `Replay ${one.job_id}`);
    button.addEventListener("click", () => replay(one.job_id, button));
    const named = cell("th", cell("span", one.job_id, "code"));
    named.append(cell("span", `${one.job}, ${new Date(one.buried_at).toLocaleString()}`, "quiet"));
    return [named, cell("td", one.error, "error"), cell("td", button, "figure")];
  });
};

let shownDeadlock = null;
const showDeadlock = (deadlock, known, now) => {
  show("deadlock-facts", deadlock !== null);
  showNone("deadlock-none", known, deadlock === null);
  if (deadlock === null) return;
  put("deadlock-age", ago(now - deadlock.at));
  if (shownDeadlock === JSON.stringify(deadlock)) return;
  shownDeadlock = JSON.stringify(deadlock);
  const picture = at("deadlock-picture");
  picture.src = `/live/deadlock.svg?at=${deadlock.at}`;
  picture.alt = `Who waited for whom: ${deadlock.title}. The list beside it says the same in words.`;
  put("deadlock-name", deadlock.pitfall ? `${deadlock.pitfall}: ${deadlock.title}` : deadlock.title);
  put("deadlock-job", deadlock.job);
  put("deadlock-cure", deadlock.cure);
  at("deadlock-transactions").replaceChildren(
    ...deadlock.transactions.map((one) => {
      const held = one.held.join(" and ");
      const victim = one.victim ? ", the victim," : "";
      return cell(
        "li",
        `Session ${one.session_id}${victim} ran ${one.ran}, held ${held}, wanted ${one.wanted}, and waited for session ${one.waits_for_session}.`,
      );
    }),
  );
};

const showNext = (beat) => {
  const jobs = beat.queue?.jobs ?? 0;
  const noWorker = beat.workers !== null && !beat.workers.some(({ alive }) => alive);
  const noProduct = beat.products !== null && !beat.products.stocked;
  const noOrder = !noWorker && !noProduct && beat.outcomes?.length === 0 && jobs === 0;
  put("next-jobs", jobs ? `${whole(jobs)} jobs wait, and no worker runs.` : "No worker runs.");
  show("next-worker", noWorker);
  show("next-catalogue", noProduct);
  show("next-orders", noOrder);
  show("next", noWorker || noProduct || noOrder);
};

let shownTroubles = "";
const showTroubles = (troubles) => {
  if (shownTroubles === troubles.join()) return;
  shownTroubles = troubles.join();
  at("troubles").replaceChildren(...troubles.map((trouble) => cell("p", trouble, "notice")));
};

// What the page knows from before stays: a server that has just started may know less.
const addPoints = (told) => {
  const since = told[0]?.[0] ?? Infinity;
  points = [...points.filter(([time]) => time < since), ...told];
};

const showBeat = (beat) => {
  addPoints(beat.points);
  showTroubles(beat.troubles);
  showNext(beat);
  showCurves(beat.at);
  put("rate", beat.orders_per_second === null ? "–" : rate(beat.orders_per_second));
  put("jobs", beat.queue ? whole(beat.queue.jobs) : "–");
  put("oldest", beat.queue ? duration(beat.queue.oldest_seconds) : "–");
  put("deferred", beat.queue ? whole(beat.deferred) : "–");
  showLatency(beat.latency);
  showOutcomes(beat.outcomes);
  showConflicts(beat.conflicts);
  showWorkers(beat.workers, beat.at);
  showDeadlock(beat.deadlock, beat.queue !== null, beat.at);
  showProducts(beat.products);
  showLetters(beat.dead_letters);
  put("read-at", new Date(beat.at * 1000).toLocaleTimeString());
};

const link = (state, text) => {
  if (at("link").dataset.state === state) return;
  at("link").dataset.state = state;
  put("link-text", text);
};

let source = null;
let heardAt = 0;
const connect = () => {
  source?.close();
  source = new EventSource("/live/events");
  heardAt = Date.now();
  source.addEventListener("history", ({ data }) => addPoints(JSON.parse(data)));
  source.addEventListener("beat", ({ data }) => {
    heardAt = Date.now();
    link("live", "live");
    showBeat(JSON.parse(data));
  });
  source.addEventListener("error", () => link("lost", "connection lost, trying again …"));
};

// What the browser does not do itself: it gives up where it is refused, and waits for ever where nothing comes.
setInterval(() => {
  if (Date.now() - heardAt > SILENCE_MS) link("lost", "connection lost, trying again …");
  if (Date.now() - heardAt > SILENCE_MS || source.readyState === EventSource.CLOSED) connect();
}, AGAIN_MS);
connect();
