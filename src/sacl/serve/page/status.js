// The body of js_on_load for the status: what newly stands there comes into sight.
let last = "";
watch("value", () => {
  const found = element.querySelector(".fault, .busy");
  const kind = found?.classList.contains("busy") ? "busy" : found?.textContent ?? "";
  if (found && kind !== last) found.scrollIntoView({ block: "nearest" });
  last = kind;
});
