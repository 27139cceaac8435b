"use strict";

// UUID version 7. It is made before the first try and kept until there is an answer, so that to send again is safe.
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  new DataView(bytes.buffer).setBigUint64(0, (BigInt(Date.now()) << 16n) | 0x7000n | BigInt(((bytes[6] & 15) << 8) | bytes[7]));
  bytes[8] = 0x80 | (bytes[8] & 63);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// Ids stay the digits that the page has: a number of JavaScript cannot hold all of them.
const BODIES = {
  order: ({ dataset: { id, customer, product }, elements }) =>
    `{"order_id":"${id}","customer_id":${customer},"lines":[{"product_id":${product},"quantity":${Number(elements.quantity.value)}}]}`,
  review: ({ dataset: { id, customer }, elements }) =>
    `{"review_id":"${id}","customer_id":${customer},"rating":${Number(elements.rating.value)},"body":${JSON.stringify(elements.body.value)}}`,
};
const REASONS = {
  insufficient_stock: "There is not enough in stock.",
  credit_limit: "It would pass your credit limit.",
  unknown_product: "This product is not sold any more.",
  unknown_customer: "This customer is not known.",
};

function inWords(status, answer) {
  if (status >= 400) return ["bad", answer.detail];
  if (answer.status === "rejected") return ["bad", REASONS[answer.reason]];
  if (answer.status === "accepted") return ["warn", "Your order is accepted, and will be placed soon."];
  if (answer.status === "placed") return ["good", `Your order is placed: $${(answer.total_cents / 100).toFixed(2)}.`];
  return ["good", "Thank you for your review."];
}

// The parts of the page that an order or a review has changed. What is in stock follows within a moment.
async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) part.replaceWith(fresh.getElementById(part.id) ?? part);
}

async function send(form) {
  const headers = { "Content-Type": "application/json", Prefer: "wait=10" };
  form.dataset.id ||= newId();
  const response = await fetch(form.action, { method: "POST", headers, body: BODIES[form.dataset.kind](form) });
  const answer = await response.json();
  if (response.status < 500) delete form.dataset.id;
  return inWords(response.status, answer);
}

for (const form of document.querySelectorAll("form[data-kind]")) {
  form.addEventListener("input", () => delete form.dataset.id); // other content is another request
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector("output");
    const button = form.querySelector("button");
    button.disabled = true;
    said.textContent = "";
    try {
      const [kind, words] = await send(form);
      [said.className, said.textContent] = [kind, words];
      if (kind !== "bad") form.reset();
      for (const milliseconds of [0, 1000]) setTimeout(refresh, milliseconds);
    } catch {
      [said.className, said.textContent] = ["bad", "The shop does not answer. Try again: nothing is done twice."];
    } finally {
      button.disabled = false;
    }
  });
}
