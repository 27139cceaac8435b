// Numbers and times for a person.

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
];

export const whole = (number) => Math.round(number).toLocaleString("en");

export const rate = (number) => (number > 0 && number < 10 ? number.toFixed(1) : whole(number));

export const percent = (share) => (share < 0.0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`);

export const duration = (seconds) => {
  if (seconds < 1) return `${whole(seconds * 1000)} ms`;
  for (const [size, unit] of UNITS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit}`;
  return seconds < 10 ? `${seconds.toFixed(1)} s` : `${whole(seconds)} s`;
};

export const ago = (seconds) => (seconds < 5 ? "just now" : `${duration(seconds)} ago`);

// What the server's codes mean.
const CONFLICTS = {
  1213: "deadlock",
  1020: "row changed since the snapshot",
  1205: "lock wait timeout",
  3572: "row is locked",
  3058: "user lock deadlock",
};

export const conflict = (code) => (CONFLICTS[code] ? `${CONFLICTS[code]} (${code})` : `error ${code}`);
