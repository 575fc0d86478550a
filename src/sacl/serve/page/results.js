// The body of gr.HTML's js_on_load for results: one listener for all that stands in them, however often they change.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-act]");
  if (button) trigger("click", { act: button.dataset.act, at: Number(button.dataset.at) });
});
element.addEventListener("change", (event) => {
  if (event.target.matches("select[data-act]")) {
    trigger("click", { act: event.target.dataset.act, at: Number(event.target.value) });
  }
});
watch("value", () => {
  // Gradio changes the elements in place, so that focus stays; it is moved only where the content says so.
  const key = element.querySelector("[data-focus]")?.dataset.focus;
  const target = key && element.querySelector(`[data-key="${key}"]`);
  if (target) {
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: key.startsWith("turn-") ? "center" : "start" });
  }
});
