// The body of js_on_load for a file and the examples. A file is read here: nothing of it is stored on the server.
const input = element.querySelector("input");
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-example]");
  if (button) trigger("upload", { example: Number(button.dataset.example) });
});
input.addEventListener("change", async () => {
  const [file] = input.files;
  if (!file) return;
  const given = { name: file.name, bytes: file.size };
  if (file.size <= Number(input.dataset.most)) {
    try {
      given.text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
    } catch {
      given.text = null;
    }
  }
  input.value = ""; // the same file can be opened again
  trigger("upload", given);
});
