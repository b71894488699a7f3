// Drawing of faces on a canvas: landmarks, the lines of their scheme, bounding box and track ID.

/** Return the CSS colour of a track ID, the same as in annotated videos. */
export function colourOf(id) {
  const hue = (0.35 + (id - 1) * 0.618034) % 1;
  return `hsl(${(360 * hue).toFixed(1)} 100% 65%)`; // saturation 0.7 and value 1 of HSV
}

/**
 * Draw faces. `scale` is canvas pixels per pixel of the frame, `ratio` canvas pixels per CSS pixel, and `lines` the
 * runs of landmarks that are connected.
 */
export function drawFaces(context, faces, { scale, ratio, lines, parts }) {
  for (const face of faces) {
    const colour = colourOf(face.id);
    const [x0, y0, x1, y1] = face.box.map((value) => (value + 0.5) * scale);
    const points = face.landmarks.map(([x, y]) => [(x + 0.5) * scale, (y + 0.5) * scale]);
    const side = Math.sqrt(Math.max((x1 - x0) * (y1 - y0), 1));
    const dot = Math.min(Math.max(side / 90, 0.9 * ratio), 4 * ratio);
    if (parts.lines && side > 50 * ratio) {
      context.strokeStyle = colour;
      context.globalAlpha = 0.65;
      context.lineWidth = Math.max(ratio, dot * 0.6);
      context.beginPath();
      for (const run of lines) {
        run.forEach((index, place) => context[place ? "lineTo" : "moveTo"](...points[index]));
      }
      context.stroke();
    }
    if (parts.landmarks) {
      points.forEach(([x, y], index) => {
        context.globalAlpha = 0.3 + 0.7 * face.confidence[index];
        context.fillStyle = "#000";
        disc(context, x, y, dot * 1.35);
        context.fillStyle = colour;
        disc(context, x, y, dot);
      });
    }
    context.globalAlpha = 1;
    if (parts.boxes) {
      context.strokeStyle = colour;
      context.lineWidth = 1.5 * ratio;
      context.strokeRect(x0, y0, x1 - x0, y1 - y0);
      label(context, String(face.id), x0, y0, colour, ratio);
    }
  }
}

function disc(context, x, y, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
}

function label(context, text, x, y, colour, ratio) {
  context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const width = context.measureText(text).width + 10 * ratio, height = 19 * ratio;
  const top = Math.max(y - height, 0), left = Math.max(x - 0.75 * ratio, 0);
  context.fillStyle = colour;
  context.fillRect(left, top, width, height);
  context.fillStyle = "#0a0d12";
  context.fillText(text, left + 5 * ratio, top + height / 2 + ratio / 2);
}
