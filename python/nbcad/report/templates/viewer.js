// The slice viewers of a report. What they show is in the page itself; the page has the texts and says how to use them.
"use strict";
(() => {
  const HEAT_SHOWN_FROM = 0.3; // as in the evidence pictures
  const KEPT = 24; // decoded slices a viewer
  const ALL = { width: 255, centre: 127.5 }; // the window that shows the stored grey values as they are

  const texts = JSON.parse(document.getElementById("viewer-texts").textContent);
  const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;

  /** Whole per cent, certain of nothing: as in the rest of the page. */
  function percent(probability) {
    if (probability > 0 && probability < 0.01) return "<1 %";
    if (probability > 0.99) return ">99 %";
    return `${Math.round(100 * probability)} %`;
  }

  /** A coordinate on an axis of the patient (0 left, 1 posterior, 2 superior), in mm, with the letter of its side. */
  function coordinate(axis, millimetres) {
    const rounded = Math.round(10 * millimetres) / 10;
    return `${(rounded < 0 ? "RAI" : "LPS")[axis]} ${Math.abs(rounded).toFixed(1)}`;
  }

  /** OpenCV's "hot": black, red, yellow, white. */
  const HOT = Array.from({ length: 256 }, (_, value) =>
    [[8 / 3, 0], [8 / 3, 1], [4, 3]].map(([rise, from]) => Math.round(255 * clamp((value / 255) * rise - from, 0, 1))));

  /** What was embedded of one series, and where its slices lie. */
  class SeriesData {
    constructor(id) {
      Object.assign(this, JSON.parse(document.getElementById(`series-${id}`).textContent));
      this.pictures = document.getElementById(`pictures-${id}`).textContent.trim().split("\n");
      const bytes = atob(this.heat.grids);
      this.heat.values = Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
      this.count = this.pictures.length;
    }

    /** Patient coordinates of a point of a slice, given as shares of the picture's height and width. */
    point(index, row, column) {
      const { corners, right, down } = this.place;
      const [height, width] = this.size_mm;
      return corners[index].map((mm, axis) => mm + down[axis] * row * height + right[axis] * column * width);
    }

    /** The slice nearest to a point of the patient. */
    nearest(point) {
      const { corners, normal } = this.place;
      const away = corners.map((corner) => Math.abs(dot(normal, corner) - dot(normal, point)));
      return away.indexOf(Math.min(...away));
    }

    /** Where a slice lies on the axis of the patient that is closest to the series' normal. */
    position(index) {
      if (!this.place) return texts.no_position;
      const sizes = this.place.normal.map(Math.abs);
      const axis = sizes.indexOf(Math.max(...sizes));
      return `${coordinate(axis, this.point(index, 0.5, 0.5)[axis])} mm`;
    }

    /** Tumour probability of a slice at each pixel of its picture, between the places of its heat map. */
    tumourOf(index, rows, columns) {
      const { shape: [height, width], cell, values } = this.heat;
      const places = (count, step, last) => Array.from({ length: count }, (_, n) => {
        const place = clamp((n + 0.5) / count / step, 0, last);
        return [Math.floor(place), Math.min(Math.floor(place) + 1, last), place % 1];
      });
      const across = places(columns, cell[1], width - 1);
      const map = new Float32Array(rows * columns);
      places(rows, cell[0], height - 1).forEach(([above, below, down], row) => {
        const line = Float32Array.from({ length: width }, (_, n) => {
          const [first, second] = [above, below].map((place) => values[(index * height + place) * width + n]);
          return (first + down * (second - first)) / 255;
        });
        for (let column = 0; column < columns; column += 1) {
          const [left, right, share] = across[column];
          map[row * columns + column] = line[left] + share * (line[right] - line[left]);
        }
      });
      return map;
    }
  }

  /** Decodes pictures when they are needed, and keeps the latest few. */
  class Decoder {
    constructor(pictures) {
      this.pictures = pictures;
      this.decoded = new Map(); // index -> promise of {rows, columns, grey}
    }

    get(index) {
      const known = this.decoded.get(index) ?? this.decode(index);
      this.decoded.delete(index);
      this.decoded.set(index, known); // the latest asked for stands last
      if (this.decoded.size > KEPT) this.decoded.delete(this.decoded.keys().next().value);
      return known;
    }

    async decode(index) {
      const image = new Image();
      image.src = `data:image/jpeg;base64,${this.pictures[index]}`;
      await image.decode();
      const canvas = Object.assign(document.createElement("canvas"), { width: image.width, height: image.height });
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      const grey = new Uint8Array(image.width * image.height);
      for (let n = 0; n < grey.length; n += 1) grey[n] = data[4 * n];
      return { rows: image.height, columns: image.width, grey };
    }
  }

  /** One series on the page. */
  class Viewer {
    constructor(root, data) {
      this.root = root;
      this.data = data;
      this.decoder = new Decoder(this.data.pictures);
      this.study = root.closest(".study");
      this.find = (name) => root.querySelector(`.${name}`);
      this.screen = this.find("screen");
      this.canvas = this.find("image");
      this.picture = document.createElement("canvas"); // the slice with window and heat, not enlarged
      this.index = this.data.lesions.length ? this.data.lesions[0].middle : this.hottest();
      this.reset();
      this.listen();
      root.hidden = false;
      new ResizeObserver(() => this.redraw()).observe(this.screen);
      this.show(this.index, { follow: false });
    }

    hottest() {
      return this.data.tumour.indexOf(Math.max(...this.data.tumour));
    }

    get boxes() { return this.find("boxes").checked; }
    get heat() { return this.find("heat").checked; }

    reset() {
      Object.assign(this, { window: { ...ALL }, zoom: 1, pan: [0, 0] });
      this.redraw();
    }

    /** Show a slice; the linked series of the study follow to where it lies, or to a point of it. */
    show(index, { follow = true, point = null } = {}) {
      this.index = clamp(index, 0, this.data.count - 1);
      this.describe();
      this.redraw();
      if (follow) followers(this, point ?? (this.data.place && this.data.point(this.index, 0.5, 0.5)));
    }

    showLesion(number) {
      const lesion = this.data.lesions.find((one) => one.number === number);
      if (!lesion) return;
      activate(this);
      this.lesion = number;
      this.show(lesion.middle, { point: lesion.centre_mm });
      this.screen.scrollIntoView({ block: "nearest", behavior: calm ? "auto" : "smooth" });
    }

    /** All that the page says of the slice in words. */
    describe() {
      const { data, index } = this;
      const here = data.lesions.filter((lesion) => index in lesion.boxes).map((lesion) => lesion.number);
      const counted = fill(texts.slice, { number: index + 1, count: data.count });
      const likely = data.region_probability[index];
      const region = likely === null ? data.regions[index] : `${data.regions[index]} ${percent(likely)}`;
      const tumour = fill(texts.tumour, { probability: percent(data.tumour[index]) });
      const none = data.answered ? texts.no_lesion : texts.unsuited;
      const lesions = here.length ? fill(texts.lesions, { numbers: here.join(", ") }) : none;
      this.find("number").textContent = counted;
      this.find("position").textContent = data.position(index);
      this.find("region").textContent = region;
      this.find("tumour").textContent = tumour;
      this.find("here").textContent = lesions;
      const slider = this.find("slider");
      slider.value = index;
      slider.setAttribute("aria-valuetext", [counted, data.position(index), region, tumour, lesions].join(", "));
      this.find("cursor").style.left = `${(100 * index) / data.count}%`;
      clearTimeout(this.saying); // a reader is told where scrolling ends, not each slice on the way
      this.saying = setTimeout(() => { this.find("said").textContent = slider.getAttribute("aria-valuetext"); }, 400);
    }

    redraw() {
      if (this.waiting) return;
      this.waiting = true;
      requestAnimationFrame(async () => {
        this.waiting = false;
        const { index } = this;
        const slice = await this.decoder.get(index);
        if (index !== this.index) return; // scrolled on meanwhile, and that one is drawn
        slice.tumour ??= this.data.tumourOf(index, slice.rows, slice.columns);
        this.slice = slice;
        this.compose();
        this.draw();
        this.root.dataset.drawn = index;
        for (const next of [index + 1, index - 1]) if (next >= 0 && next < this.data.count) this.decoder.get(next);
      });
    }

    /** The slice's grey values through the window, with the heat over them. */
    compose() {
      const { rows, columns, grey } = this.slice;
      Object.assign(this.picture, { width: columns, height: rows });
      const image = new ImageData(columns, rows);
      const { width, centre } = this.window;
      const table = Uint8ClampedArray.from({ length: 256 }, (_, value) => 255 * ((value - centre) / width + 0.5));
      for (let n = 0; n < grey.length; n += 1) {
        image.data[4 * n] = image.data[4 * n + 1] = image.data[4 * n + 2] = table[grey[n]];
        image.data[4 * n + 3] = 255;
      }
      if (this.heat) this.addHeat(image.data);
      this.picture.getContext("2d").putImageData(image, 0, 0);
    }

    addHeat(pixels) {
      const opacity = this.find("opacity").value / 100;
      this.slice.tumour.forEach((tumour, n) => {
        const alpha = opacity * ((tumour - HEAT_SHOWN_FROM) / (1 - HEAT_SHOWN_FROM));
        if (alpha <= 0) return;
        const colour = HOT[Math.round(255 * tumour)];
        for (let k = 0; k < 3; k += 1) pixels[4 * n + k] += alpha * (colour[k] - pixels[4 * n + k]);
      });
    }

    /** Where the picture lies on the screen: its upper left corner, and pixels of the screen a mm. */
    layout() {
      const [height, width] = this.data.size_mm;
      const { clientWidth, clientHeight } = this.screen;
      const scale = Math.min(clientWidth / width, clientHeight / height) * this.zoom;
      return {
        scale,
        left: (clientWidth - width * scale) / 2 + this.pan[0],
        top: (clientHeight - height * scale) / 2 + this.pan[1],
        width: width * scale,
        height: height * scale,
      };
    }

    draw() {
      const { clientWidth, clientHeight } = this.screen;
      if (!clientWidth) return;
      const ratio = devicePixelRatio || 1;
      Object.assign(this.canvas, { width: clientWidth * ratio, height: clientHeight * ratio });
      const context = this.canvas.getContext("2d");
      const at = this.layout();
      context.scale(ratio, ratio);
      context.imageSmoothingQuality = "high";
      context.drawImage(this.picture, at.left, at.top, at.width, at.height);
      if (this.boxes) this.drawBoxes(context, at);
      this.drawScale(context, at);
      this.find("window").textContent = fill(texts.window, {
        width: Math.round(this.window.width), centre: Math.round(this.window.centre),
      });
    }

    drawBoxes(context, at) {
      context.font = "600 15px system-ui, sans-serif";
      context.strokeStyle = context.fillStyle = "#ffc83c";
      for (const lesion of this.data.lesions) {
        const box = lesion.boxes[this.index];
        if (!box) continue;
        const [top, bottom] = [box[0], box[2]].map((share) => at.top + share * at.height);
        const [left, right] = [box[1], box[3]].map((share) => at.left + share * at.width);
        context.lineWidth = lesion.number === this.lesion ? 3 : 1.5;
        context.strokeRect(left, top, right - left, bottom - top);
        context.fillText(lesion.number, left + 3, Math.max(top - 5, 15));
      }
    }

    drawScale(context, at) {
      const length = [100, 50, 20, 10, 5].find((mm) => mm * at.scale < this.screen.clientWidth / 4) ?? 5;
      const [left, top] = [14, this.screen.clientHeight - 44];
      context.fillStyle = "#d8dcdf";
      context.fillRect(left, top, length * at.scale, 2);
      context.fillRect(left, top - 4, 1, 10);
      context.fillRect(left + length * at.scale - 1, top - 4, 1, 10);
      context.font = "13px system-ui, sans-serif";
      context.fillText(`${length} mm`, left, top - 7);
    }

    /** Tumour probability of all slices, a bar each; below them their regions, of which the page has these names. */
    drawStrip(names) {
      const svg = this.find("bars");
      const { count, tumour, regions, lesions } = this.data;
      const add = (kind, x, y, width, height) => {
        const bar = document.createElementNS(svg.namespaceURI, "rect");
        for (const [key, value] of Object.entries({ class: kind, x, y, width, height })) bar.setAttribute(key, value);
        svg.append(bar);
      };
      svg.setAttribute("viewBox", `0 0 ${count} 100`);
      for (let n = 0; n < count; n += 1) {
        const found = lesions.some((lesion) => n in lesion.boxes);
        add(found ? "bar found" : "bar", n + 0.08, 78 * (1 - tumour[n]), 0.84, 78 * tumour[n]);
        add(`region-${names.indexOf(regions[n]) % 5}`, n, 84, 1, 16);
      }
      this.find("legend").append(...names.map((name, n) =>
        Object.assign(document.createElement("span"), { className: `key region-${n % 5}`, textContent: name })));
    }

    /** Shares of the picture's height and width under a pointer. */
    under(event) {
      const [at, screen] = [this.layout(), this.screen.getBoundingClientRect()];
      return [(event.clientY - screen.top - at.top) / at.height, (event.clientX - screen.left - at.left) / at.width];
    }

    readOut(event) {
      const [row, column] = this.under(event);
      const inside = this.slice && row >= 0 && row < 1 && column >= 0 && column < 1;
      if (!inside) { this.find("readout").textContent = ""; return; }
      const { rows, columns, grey, tumour } = this.slice;
      const pixel = Math.floor(row * rows) * columns + Math.floor(column * columns);
      const place = this.data.place ? this.data.point(this.index, row, column) : [];
      this.find("readout").textContent = [
        ...(place.length ? [`${place.map((mm, axis) => coordinate(axis, mm)).join(" ")} mm`] : []),
        fill(texts.value, { value: grey[pixel] }),
        fill(texts.tumour_here, { probability: percent(tumour[pixel]) }),
      ].join(" · ");
    }

    changeWindow(width, centre) {
      this.window.width = clamp(this.window.width + width, 1, 510);
      this.window.centre = clamp(this.window.centre + centre, 0, 255);
      this.redraw();
    }

    /** Enlarge about a point of the screen, its middle if none is given. */
    enlarge(factor, event) {
      const zoom = clamp(this.zoom * factor, 1, 12);
      const screen = this.screen.getBoundingClientRect();
      const from = event
        ? [event.clientX - screen.left - screen.width / 2, event.clientY - screen.top - screen.height / 2]
        : [0, 0];
      this.pan = this.pan.map((offset, n) => from[n] - (from[n] - offset) * (zoom / this.zoom));
      this.zoom = zoom;
      if (zoom === 1) this.pan = [0, 0];
      this.redraw();
    }

    move(right, down) {
      this.pan = [this.pan[0] + right, this.pan[1] + down];
      this.redraw();
    }

    listen() {
      const { screen } = this;
      this.root.addEventListener("focusin", () => activate(this));
      this.root.addEventListener("pointerdown", () => activate(this));
      screen.addEventListener("keydown", (event) => this.key(event));
      screen.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
      screen.addEventListener("dblclick", () => this.reset());
      screen.addEventListener("contextmenu", (event) => event.preventDefault());
      screen.addEventListener("pointerdown", (event) => screen.setPointerCapture(event.pointerId));
      screen.addEventListener("pointermove", (event) => this.drag(event));
      screen.addEventListener("pointerleave", () => { this.find("readout").textContent = ""; });
      this.find("slider").addEventListener("input", (event) => this.show(Number(event.target.value)));
      this.find("strip").addEventListener("click", (event) => {
        const strip = this.find("strip").getBoundingClientRect();
        this.show(Math.floor(((event.clientX - strip.left) / strip.width) * this.data.count));
      });
      for (const name of ["boxes", "heat", "opacity"]) this.find(name).addEventListener("input", () => this.redraw());
      this.find("reset").addEventListener("click", () => this.reset());
    }

    wheel(event) {
      event.preventDefault();
      activate(this);
      if (event.ctrlKey) this.enlarge(event.deltaY < 0 ? 1.25 : 0.8, event);
      else if (event.deltaY) this.show(this.index + Math.sign(event.deltaY));
    }

    drag(event) {
      if (event.buttons === 1 && !event.shiftKey) this.changeWindow(event.movementX, event.movementY / 2);
      else if (event.buttons) this.move(event.movementX, event.movementY);
      else this.readOut(event);
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const step = { ArrowUp: -1, ArrowLeft: -1, ArrowDown: 1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
      const pan = { w: [0, 30], a: [30, 0], s: [0, -30], d: [-30, 0] }[event.key];
      if (event.shiftKey && step) {
        const sign = Math.sign(step);
        if (/Left|Right/.test(event.key)) this.changeWindow(8 * sign, 0);
        else this.changeWindow(0, 4 * sign);
      } else if (step) this.show(this.index + step);
      else if (event.key === "Home") this.show(0);
      else if (event.key === "End") this.show(this.data.count - 1);
      else if (event.key === "+" || event.key === "=") this.enlarge(1.25);
      else if (event.key === "-") this.enlarge(0.8);
      else if (pan) this.move(...pan);
      else return;
      event.preventDefault();
    }
  }

  const viewers = [...document.querySelectorAll(".viewer")].map((root) =>
    new Viewer(root, new SeriesData(root.dataset.series)));
  const regions = [...new Set(viewers.flatMap((viewer) => viewer.data.regions))].sort();
  for (const viewer of viewers) viewer.drawStrip(regions);
  const help = document.getElementById("help");
  let active = viewers[0];

  function activate(viewer) {
    active = viewer;
    for (const one of viewers) one.root.classList.toggle("active", one === viewer && viewers.length > 1);
  }

  /** Bring the other series of the study to a point of the patient, if they are linked. */
  function followers(leader, point) {
    if (!point || !leader.study.querySelector(".link")?.checked) return;
    for (const viewer of viewers) {
      const follows = viewer !== leader && viewer.study === leader.study && viewer.data.place;
      if (follows) viewer.show(viewer.data.nearest(point), { follow: false });
    }
  }

  /** The next lesion of the page, or the one before it. */
  function step(by) {
    const all = viewers.flatMap((viewer) => viewer.data.lesions.map((lesion) => [viewer, lesion.number]));
    if (!all.length) return;
    const here = all.findIndex(([viewer, number]) => viewer === active && number === viewer.lesion);
    const [viewer, number] = all[here < 0 ? (by > 0 ? 0 : all.length - 1) : (here + by + all.length) % all.length];
    viewer.showLesion(number);
  }

  function toggle(name) {
    const box = name === "link" ? active.study.querySelector(".link") : active.find(name);
    box?.click();
  }

  /** Keys that work wherever the focus is, but where one types. */
  function key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || help.open) return;
    if (event.key === "?") help.showModal();
    else if (event.key === "n") step(1);
    else if (event.key === "p") step(-1);
    else if (/^[1-9]$/.test(event.key)) active.showLesion(Number(event.key));
    else if (event.key === "b") toggle("boxes");
    else if (event.key === "h") toggle("heat");
    else if (event.key === "l") toggle("link");
    else if (event.key === "r") active.reset();
    else return;
    event.preventDefault();
  }

  if (viewers.length) {
    activate(active);
    document.addEventListener("keydown", key);
    for (const button of document.querySelectorAll(".open-help")) {
      button.addEventListener("click", () => help.showModal());
    }
    for (const { dataset, parentElement } of document.querySelectorAll(".jump")) {
      const viewer = viewers.find((one) => one.root.dataset.series === dataset.series);
      parentElement.closest("tr").addEventListener("click", () => viewer.showLesion(Number(dataset.lesion)));
    }
    for (const link of document.querySelectorAll(".link")) {
      link.addEventListener("input", () => active.show(active.index));
    }
  }
})();
