// A curve of the last five minutes in an SVG of 300 by 100.

export const SECONDS = 300;
const GAP_SECONDS = 5; // nothing was read for longer: the line is broken

const make = (name, attributes) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

// The next of 1, 2, 5, 10, 20 … above a value.
export const ceiling = (value) => {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].find((step) => step * power >= value) * power;
};

// Runs of points ([time, value]) that no gap parts.
const runs = (points) => {
  const found = [];
  let last = null;
  for (const point of points) {
    if (point[1] !== null) {
      if (last === null || point[0] - last > GAP_SECONDS) found.push([]);
      found.at(-1).push(point);
      last = point[0];
    }
  }
  return found;
};

// Draw points; the largest value is given back.
export const draw = (svg, points, now) => {
  const peak = Math.max(0, ...points.map(([, value]) => value ?? 0));
  const top = ceiling(peak);
  const x = (at) => (SECONDS - (now - at)).toFixed(1);
  const y = (value) => (98 - (96 * value) / top).toFixed(1);
  const grid = [2, 50, 98].map((at) => make("path", { class: "grid", d: `M0 ${at}H300` }));
  const lines = runs(points).flatMap((run) => {
    const line = run.map(([at, value]) => `${x(at)} ${y(value)}`).join("L");
    return [
      make("path", { class: "area", d: `M${x(run[0][0])} 98L${line}L${x(run.at(-1)[0])} 98Z` }),
      make("path", { class: "line", d: `M${line}` }),
    ];
  });
  svg.replaceChildren(...grid, ...lines);
  return peak;
};
