// The page: read the model's description, take an image or a text, compute, show the answer, and test itself.
//
// 1. Images are resized as Pillow 13 does it: antialiased, in 8 bits, weights of 22 bits, rows first unless far
//    more rows than columns go away (found by comparing: 2,836 of 2,836 sizes agree; older ones: always rows).
// 2. What the manifest says of the bundle is in model/model.json; nothing is asked of another host.
// 3. The self-test runs the golden cases from their raw inputs on; its verdict is in #selftest, as data too.

const PRECISION = 22;
const MOST_PIXELS = 1 << 24;
const MOST_CHARACTERS = 262144;

// ---- images

const FILTERS = {
  bilinear: { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    weigh: (at) => {
      const x = Math.abs(at);
      if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0;
    },
  },
};

/** For each place of the result: where its pixels begin, and their weights times 2 ** 22. */
function weightsOf(before, after, filter) {
  const scale = before / after;
  const wide = Math.max(scale, 1);
  const support = filter.support * wide;
  return Array.from({ length: after }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), before);
    const raw = [];
    for (let x = first; x < end; x += 1) raw.push(filter.weigh((x - center + 0.5) * (1 / wide)));
    const sum = raw.reduce((total, each) => total + each, 0);
    const fixed = raw.map((each) => {
      const scaled = (sum === 0 ? each : each / sum) * 2 ** PRECISION;
      return Math.trunc(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    });
    return { first, fixed };
  });
}

/** One pass along an axis: `stride` numbers lie between neighbours, `lines` are the starts of the others. */
function pass(from, to, weights, { step, lines, stepTo, linesTo, channels }) {
  for (let line = 0; line < lines.count; line += 1) {
    for (let place = 0; place < weights.length; place += 1) {
      const { first, fixed } = weights[place];
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = 2 ** (PRECISION - 1);
        let at = line * lines.step + first * step + channel;
        for (let tap = 0; tap < fixed.length; tap += 1, at += step) sum += from[at] * fixed[tap];
        to[line * linesTo + place * stepTo + channel] = Math.min(Math.max(Math.floor(sum / 2 ** PRECISION), 0), 255);
      }
    }
  }
}

function across(image, width, filter) {
  const { data: from, height, channels } = image;
  if (width === image.width) return image;
  const data = new Uint8Array(height * width * channels);
  pass(from, data, weightsOf(image.width, width, filter), {
    step: channels,
    lines: { count: height, step: image.width * channels },
    stepTo: channels,
    linesTo: width * channels,
    channels,
  });
  return { data, height, width, channels };
}

function down(image, height, filter) {
  const { data: from, width, channels } = image;
  if (height === image.height) return image;
  const data = new Uint8Array(height * width * channels);
  pass(from, data, weightsOf(image.height, height, filter), {
    step: width * channels,
    lines: { count: width, step: channels },
    stepTo: width * channels,
    linesTo: channels,
    channels,
  });
  return { data, height, width, channels };
}

/** Resize uint8 [H, W, C] (rule 1); which axis comes first shows, for what lies between is rounded to 8 bits. */
export function resize(image, height, width, interpolation) {
  const filter = FILTERS[interpolation];
  const fewer = image.height - height;
  if (fewer > 0 && fewer > 2 * (image.width - width)) return across(down(image, height, filter), width, filter);
  return down(across(image, width, filter), height, filter);
}

/** Height and width after a resize or cover; the side that is not given is rounded down. */
function target({ height, width }, step) {
  if (step.type === "cover") {
    if (step.height * width >= step.width * height) return [step.height, Math.floor((step.height * width) / height)];
    return [Math.floor((step.width * height) / width), step.width];
  }
  if ((step.kind ?? "short-side") === "exact") return [step.size, step.size];
  if (width <= height) return [Math.trunc((step.size * height) / width), step.size];
  return [step.size, Math.trunc((step.size * width) / height)];
}

/** Half of a margin, rounded half to even. */
function half(margin) {
  const down = Math.floor(margin / 2);
  return margin % 2 === 0 ? margin / 2 : down + (down % 2);
}

function crop(image, step) {
  const { height, width } = step;
  if (image.height < height || image.width < width) {
    throw new Error(`${image.height} x ${image.width} pixels, at least ${height} x ${width} expected by the crop`);
  }
  const top = half(image.height - height);
  const left = half(image.width - width);
  const row = width * image.channels;
  const data = new Uint8Array(height * row);
  for (let y = 0; y < height; y += 1) {
    const start = ((top + y) * image.width + left) * image.channels;
    data.set(image.data.subarray(start, start + row), y * row);
  }
  return { data, height, width, channels: image.channels };
}

/** RGBA of a canvas -> uint8 [H, W, 3], or [H, W, 1] by Pillow's integer weights of luma. */
export function fromRgba({ data, height, width }, mode) {
  const channels = mode === "L" ? 1 : 3;
  const found = new Uint8Array(height * width * channels);
  for (let pixel = 0; pixel < height * width; pixel += 1) {
    const [red, green, blue] = [data[4 * pixel], data[4 * pixel + 1], data[4 * pixel + 2]];
    if (channels === 1) found[pixel] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
    else found.set([red, green, blue], 3 * pixel);
  }
  return { data: found, height, width, channels };
}

/** The manifest's steps after decoding: uint8 [H, W, C] -> float32 [1, C, H, W]. */
export function imageFeed(image, steps) {
  let now = image;
  for (const step of steps) {
    if (step.type === "resize" || step.type === "cover") {
      const [height, width] = target(now, step);
      if (height * width > MOST_PIXELS) throw new Error(`would become ${height} x ${width} pixels; cut the image first`);
      now = resize(now, height, width, step.interpolation ?? "bilinear");
    } else if (step.type === "center-crop") {
      now = crop(now, step);
    } else if (step.type === "to-float") {
      const scale = Math.fround(step.scale ?? 1 / 255);
      const { height, width, channels } = now;
      const values = new Float32Array(channels * height * width);
      for (let pixel = 0; pixel < height * width; pixel += 1) {
        for (let each = 0; each < channels; each += 1) {
          values[each * height * width + pixel] = now.data[pixel * channels + each] * scale;
        }
      }
      return { values, dims: [1, channels, height, width] };
    }
  }
  throw new Error("the steps of the image do not end in to-float");
}

async function decode(blob, mode) {
  const options = { premultiplyAlpha: "none", colorSpaceConversion: "none", imageOrientation: "from-image" };
  const bitmap = await createImageBitmap(blob, options);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  return fromRgba(context.getImageData(0, 0, bitmap.width, bitmap.height), mode);
}

// ---- texts

/** Ids of a text, cut to the model's tokens as the bundle cuts: special tokens stay. */
export function textIds(tokenizer, pre, text, unknown) {
  const seen = Array.from(text).slice(0, MOST_CHARACTERS).join("");
  const known = (ids) => Array.from(ids, (id) => id ?? unknown);
  const all = known(tokenizer.encode(seen).ids);
  if (all.some((id) => id === undefined)) throw new Error("the text has a token that is not in the vocabulary");
  if (all.length === 0) throw new Error("the text gives no token");
  if (all.length <= pre.max_tokens) return all;
  const bare = known(tokenizer.encode(seen, { add_special_tokens: false }).ids);
  const special = all.length - bare.length;
  let start = 0;
  while (start < special && !bare.every((id, place) => all[start + place] === id)) start += 1;
  const kept = bare.slice(0, pre.max_tokens - special);
  return [...all.slice(0, start), ...kept, ...all.slice(start + bare.length)];
}

/** The id that a WordLevel model gives to unknown words; other models know theirs. */
export function unknownId(file) {
  return file.model.type === "WordLevel" ? file.model.vocab[file.model.unk_token] : undefined;
}

// ---- answers

const softmax = (row) => {
  const top = Math.max(...row);
  const powers = Array.from(row, (each) => Math.exp(each - top));
  const sum = powers.reduce((total, each) => total + each, 0);
  return powers.map((each) => each / sum);
};

/** What the outputs of one input say: labels with probabilities, the most probable first, or a vector. */
export function answer(outputs, post, labels) {
  const row = Array.from(outputs[post.output]);
  if (post.type === "embedding") {
    const length = post.normalize ?? true ? Math.max(Math.hypot(...row), 1e-12) : 1;
    return { vector: row.map((each) => each / length) };
  }
  const chances = post.type === "softmax" ? softmax(row) : row.map((each) => 1 / (1 + Math.exp(-each)));
  const order = chances.map((_, index) => index).sort((a, b) => chances[b] - chances[a] || a - b);
  const scored = order.map((index) => ({ label: labels[index], index, confidence: chances[index] }));
  if (post.type === "sigmoid") {
    const least = (index) => (post.thresholds?.length ? post.thresholds[index] : 0.5);
    return { scored, labels: scored.filter((each) => each.confidence >= least(each.index)).map((each) => each.label) };
  }
  const [{ label, confidence }] = scored;
  return { scored, label, rejected: confidence < (post.reject_below ?? 0) || label === (post.reject_label ?? null) };
}

// ---- the page

const json = async (path) => (await fetch(path)).json();
const element = (id) => document.getElementById(id);

async function open() {
  const model = await json("model/model.json");
  const ort = await import("./vendor/ort.wasm.bundle.min.mjs");
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL("./vendor/ort-wasm-simd-threaded.wasm", import.meta.url).href };
  const externalData = model.external.map((path) => ({ path, data: `model/${path}` }));
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create("model/graph.onnx", { executionProviders: ["wasm"], externalData, logSeverityLevel: 3 });
  let feeds;
  if (model.takes === "image") {
    const [{ mode = "RGB" }, ...steps] = model.pre.steps;
    feeds = async (blob) => {
      const { values, dims } = imageFeed(await decode(blob, mode), steps);
      const { min, max } = model.inputs[model.pre.input];
      if (dims.some((size, axis) => size < min[axis] || size > max[axis])) {
        throw new Error(`the model takes [${min}] to [${max}], the image gives [${dims}]`);
      }
      return { feeds: { [model.pre.input]: new ort.Tensor("float32", values, dims) } };
    };
  } else {
    const { Tokenizer } = await import("./vendor/tokenizers.min.mjs");
    const file = await json("model/tokenizer.json");
    const tokenizer = new Tokenizer(file, {});
    const { ids: idsName = "input_ids", mask: maskName = "attention_mask" } = model.pre;
    feeds = async (text) => {
      const ids = textIds(tokenizer, model.pre, text, unknownId(file));
      const tensor = (each) => new ort.Tensor("int64", BigInt64Array.from(each, BigInt), [1, ids.length]);
      return { ids, feeds: { [idsName]: tensor(ids), [maskName]: tensor(ids.map(() => 1)) } };
    };
  }
  const compute = async (raw) => {
    const made = await feeds(raw);
    const found = await session.run(made.feeds);
    const outputs = Object.fromEntries(Object.entries(found).map(([name, tensor]) => [name, tensor.data]));
    return { ...made, outputs, answer: answer(outputs, model.post, model.labels) };
  };
  return { model, compute };
}

async function rawOf(model, path) {
  const response = await fetch(`model/${path}`);
  return model.takes === "image" ? response.blob() : (await response.text()).replace(/\n$/, "").replace(/\r$/, "");
}

/** Run the golden cases; the largest absolute difference of an output, and token ids that differ. */
async function selfTest({ model, compute }, cases) {
  let difference = 0;
  let ids = 0;
  for (const each of cases) {
    const found = await compute(await rawOf(model, each.raw));
    if (each.ids && String(each.ids) !== String(found.ids)) ids += 1;
    for (const [name, expected] of Object.entries(each.outputs)) {
      const values = found.outputs[name];
      if (values?.length !== expected.length) difference = Infinity;
      else expected.forEach((value, at) => { difference = Math.max(difference, Math.abs(value - Number(values[at]))); });
    }
  }
  return { cases: cases.length, difference, ids, passed: difference <= model.limit && ids === 0 };
}

function show(found, model) {
  const list = element("answer");
  list.replaceChildren();
  const say = (text) => { element("said").textContent = text; };
  if (found.vector) {
    say(`a vector of ${found.vector.length} numbers: ${found.vector.slice(0, 8).map((each) => each.toFixed(4)).join(", ")}, ...`);
    return;
  }
  if (found.labels) say(found.labels.length ? found.labels.join(", ") : "no label");
  else say(found.rejected ? `${found.label} (rejected: not to be acted on)` : found.label);
  for (const { label, confidence } of found.scored.slice(0, Math.min(5, model.labels.length))) {
    const item = document.createElement("li");
    const meter = document.createElement("meter");
    meter.value = confidence;
    item.append(meter, ` ${(100 * confidence).toFixed(1)}% ${label}`);
    list.append(item);
  }
}

async function start() {
  const page = await open();
  const { model, compute } = page;
  const cases = await json("model/golden.json");
  document.title = model.bundle;
  element("title").textContent = model.bundle;
  element("about").textContent =
    `${model.task}; artifact ${model.artifact}, ${(model.bytes / 1e6).toFixed(2)} MB; ` +
    `takes ${model.takes === "image" ? "an image (PNG, JPEG or WebP)" : "a text"}`;
  element("labels").textContent = model.labels.length
    ? `${model.labels.length} labels: ${model.labels.slice(0, 12).join(", ")}${model.labels.length > 12 ? ", ..." : ""}`
    : "no labels: a vector";
  const run = async (raw) => {
    try {
      element("error").textContent = "";
      const begun = performance.now();
      const found = await compute(raw);
      show(found.answer, model);
      element("took").textContent = `${(performance.now() - begun).toFixed(1)} ms here, preprocessing included`;
    } catch (error) {
      element("error").textContent = String(error.message ?? error);
    }
  };
  const showImage = (blob) => { element("picture").src = URL.createObjectURL(blob); };
  const give = (raw) => {
    if (model.takes === "image") showImage(raw);
    else element("text").value = raw;
    return run(raw);
  };
  element(model.takes === "image" ? "image-input" : "text-input").hidden = false;
  element("file").addEventListener("change", (event) => event.target.files[0] && give(event.target.files[0]));
  element("text-input").addEventListener("submit", (event) => { event.preventDefault(); run(element("text").value); });
  for (const each of cases.slice(0, 10)) {
    const raw = await rawOf(model, each.raw);
    const button = document.createElement("button");
    if (model.takes === "image") {
      const image = document.createElement("img");
      image.src = URL.createObjectURL(raw);
      image.alt = each.id;
      button.append(image);
    } else button.textContent = raw.slice(0, 40) || "(empty)";
    button.addEventListener("click", () => give(raw));
    element("examples").append(button);
  }
  const test = async () => {
    const place = element("selftest");
    place.textContent = "running ...";
    let verdict;
    try {
      verdict = await selfTest(page, cases);
    } catch (error) {
      verdict = { cases: cases.length, difference: Infinity, ids: 0, passed: false, error: String(error.message ?? error) };
    }
    for (const [name, value] of Object.entries(verdict)) place.dataset[name] = value;
    place.textContent =
      `${verdict.passed ? "passed" : "FAILED"}: ${verdict.cases} golden cases, largest difference ` +
      `${verdict.difference.toExponential(2)}, limit ${model.limit}` +
      `${verdict.ids ? `, token ids differ in ${verdict.ids}` : ""}${verdict.error ? `, ${verdict.error}` : ""}`;
  };
  element("test").addEventListener("click", test);
  element("notice").hidden = true;
  element("page").hidden = false;
  const first = await rawOf(model, cases[0].raw);
  await compute(first); // the first call lays out memory, and would be the time that is shown
  await give(first);
  if (new URLSearchParams(location.search).has("selftest")) await test();
}

if (typeof document !== "undefined") {
  element("notice").textContent = "Loading the model and what computes it ...";
  start().catch((error) => { element("notice").textContent = `The page cannot start: ${error.message ?? error}`; });
}
