// Names the segment under the pointer, and highlights one that is chosen in
// the drawing or in the table. The listeners are on the element of the
// component, so that they stay when its content is replaced.

const mapOf = new WeakMap();

function ids(panel) {
  if (!mapOf.has(panel)) {
    const runs = panel.dataset.runs.split(' ').map(Number);
    const map = new Int32Array(panel.dataset.width * panel.dataset.height);
    for (let run = 0, at = 0; run < runs.length; run += 2) {
      map.fill(runs[run], at, at + runs[run + 1]);
      at += runs[run + 1];
    }
    mapOf.set(panel, map);
  }
  return mapOf.get(panel);
}

function idAt(stage, event) {
  const panel = stage.closest('.panel');
  const box = stage.querySelector('img').getBoundingClientRect();
  const { width, height } = panel.dataset;
  const x = Math.floor(((event.clientX - box.left) / box.width) * width);
  const y = Math.floor(((event.clientY - box.top) / box.height) * height);
  const inside = x >= 0 && y >= 0 && x < width && y < height;
  return inside ? ids(panel)[y * width + x] : 0;
}

function buttonOf(panel, id) {
  return panel.querySelector(`tr[data-id="${id}"] button`);
}

// Darken everything but one segment; 0 for nothing.
function highlight(panel, id) {
  const canvas = panel.querySelector('canvas');
  canvas.hidden = !id;
  if (!id) return;
  canvas.width = panel.dataset.width;
  canvas.height = panel.dataset.height;
  const context = canvas.getContext('2d');
  const shade = context.createImageData(canvas.width, canvas.height);
  const map = ids(panel);
  for (let pixel = 0; pixel < map.length; pixel++) {
    shade.data[4 * pixel + 3] = map[pixel] === id ? 0 : 175;
  }
  context.putImageData(shade, 0, 0);
}

function chosen(panel) {
  const button = panel.querySelector('button[aria-pressed="true"]');
  return button ? Number(button.closest('tr').dataset.id) : 0;
}

// Choose a segment, or none if it is chosen already.
function choose(panel, id) {
  const next = id === chosen(panel) ? 0 : id;
  for (const button of panel.querySelectorAll('tr button')) {
    const own = Number(button.closest('tr').dataset.id) === next;
    button.setAttribute('aria-pressed', own);
    if (own) {
      const list = panel.querySelector('.segments');
      const row = button.closest('tr');
      list.scrollTop = row.offsetTop - list.clientHeight / 2;
    }
  }
  highlight(panel, next);
}

function showTip(stage, event, id) {
  const tip = stage.querySelector('.tip');
  const button = id ? buttonOf(stage.closest('.panel'), id) : null;
  tip.hidden = !button;
  if (!button) return;
  tip.textContent = button.dataset.title;
  const box = stage.getBoundingClientRect();
  const room = box.width - tip.offsetWidth;
  const x = Math.min(event.clientX - box.left + 12, room);
  tip.style.left = `${Math.max(0, x)}px`;
  tip.style.top = `${Math.max(0, event.clientY - box.top - 34)}px`;
}

element.addEventListener('pointermove', (event) => {
  const stage = event.target.closest('.stage');
  if (stage) showTip(stage, event, idAt(stage, event));
});

element.addEventListener('pointerout', (event) => {
  const stage = event.target.closest('.stage');
  if (stage && !stage.contains(event.relatedTarget)) {
    stage.querySelector('.tip').hidden = true;
  }
});

element.addEventListener('click', (event) => {
  const stage = event.target.closest('.stage');
  if (stage) {
    const id = idAt(stage, event);
    choose(stage.closest('.panel'), id);
    showTip(stage, event, id);
    return;
  }
  const row = event.target.closest('tr[data-id]');
  if (row) choose(row.closest('.panel'), Number(row.dataset.id));
});

for (const [type, show] of [['pointerover', true], ['pointerout', false]]) {
  element.addEventListener(type, (event) => {
    const row = event.target.closest('tr[data-id]');
    if (!row) return;
    const panel = row.closest('.panel');
    highlight(panel, show ? Number(row.dataset.id) : chosen(panel));
  });
}
