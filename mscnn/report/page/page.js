// Builds the views of each run, links them, and makes the rest of the page easier to move in.

/** Draw the two plots of a run, and return the document with their models. */
async function draw(root, models) {
  await Bokeh.embed.embed_item(models.plate, root.querySelector('[data-part="plate-plot"]'));
  const plate = Bokeh.documents.at(-1);
  const map = root.querySelector('[data-part="map-plot"]');
  if (!map) return { plate, map: null };
  await Bokeh.embed.embed_item(models.map, map);
  return { plate, map: Bokeh.documents.at(-1) };
}

async function explore(root) {
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const { prefix } = root.dataset;
  const state = new State(data);
  const colours = new Colours(data);
  const tip = new Tip();
  const documents = await draw(root, data.models);
  if (data.plates.names.length) new PlateView(root, state, colours, tip, documents.plate, prefix);
  if (documents.map) new MapView(root, state, colours, tip, documents.map, prefix);
  new TableView(root, state, colours);
  new ViewerView(root, state);
  const run = document.querySelectorAll(".explore").length > 1 ? root.dataset.run : "";
  const open = () => {
    const entries = readAddress(location.hash);
    if (!entries || (entries.get("run") ?? "") !== run) return;
    follow(state, entries);
    root.scrollIntoView();
  };
  open();
  addEventListener("hashchange", open);
  state.listen((names) => {
    if (["treatment", "plate", "measure"].some((name) => names.has(name))) history.replaceState(null, "", toAddress(state, run));
  });
}

/** Open what is folded where an address leads into it. */
function unfold() {
  const target = /^#[\w-]+$/.test(location.hash) ? document.getElementById(location.hash.slice(1)) : null;
  if (!target) return;
  for (const folded of target.querySelectorAll(":scope > details")) folded.open = true;
  target.scrollIntoView();
}

/** Let keys scroll what is wider than the page. */
function reachScrolled() {
  document.querySelectorAll(".scroll").forEach((part, number) => {
    const title = part.closest("section")?.querySelector("h2, h3");
    part.tabIndex = 0;
    part.setAttribute("role", "region");
    part.setAttribute("aria-label", `${title ? title.textContent : "table"}, ${number + 1}, scrolls sideways`);
  });
}

if (document.querySelector(".explore")) Bokeh.logger.set_level("warn");
document.documentElement.classList.add("scripted");
reachScrolled();
if (matchMedia("(max-width: 70rem)").matches) for (const list of document.querySelectorAll(".contents details")) list.open = false;
addEventListener("hashchange", unfold);
unfold();
Promise.all([...document.querySelectorAll(".explore")].map(explore)).then(() => document.documentElement.classList.add("ready"));
