// Replay a dead letter: asks for an API key where the server wants one, and says what became of the job.

let key = null;
const dialog = document.getElementById("key");
const text = document.getElementById("key-text");
const said = document.getElementById("said");

const ask = () =>
  new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue || null), { once: true });
    dialog.returnValue = "";
    text.value = "";
    dialog.showModal();
  });

document.getElementById("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  dialog.close(text.value);
});
document.getElementById("key-cancel").addEventListener("click", () => dialog.close(""));

const why = (one) => (typeof one === "string" ? one : (one.error ?? "not all of it could be run"));

const outcome = async (response) => {
  const answer = await response.json();
  if (!response.ok) return answer.detail;
  if (answer.waiting) return "queued again, and its letter is kept until it has an outcome: is a worker running?";
  if (answer.dead) return `its letter is kept: ${answer.outcomes.map(why).join("; ")}`;
  return answer.outcomes.map((one) => one.status ?? "done").join(", ");
};

const send = (jobId) =>
  fetch("/live/replay", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(key && { Authorization: `Bearer ${key}` }) },
    body: JSON.stringify({ job_id: jobId }),
  });

export const replay = async (jobId, button) => {
  button.disabled = true;
  said.textContent = `Replaying ${jobId} …`;
  try {
    let response = await send(jobId);
    if (response.status === 401 && (key = await ask())) response = await send(jobId);
    if (response.status === 401) key = null;
    said.textContent = `${jobId}: ${await outcome(response)}`;
  } catch {
    said.textContent = `${jobId}: the server does not answer; to replay it again is safe.`;
  } finally {
    button.disabled = false;
    said.focus(); // the row of the button may go
  }
};
