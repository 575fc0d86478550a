// The body of js_on_load for the head. Gradio is silent about a request that is refused; here it is told.
const trouble = element.querySelector("[role=alert]");
const tell = (text) => {
  trouble.textContent = text;
  trouble.hidden = !text;
  if (text) trouble.scrollIntoView({ block: "nearest" });
};
const ask = window.fetch;
window.fetch = async (...request) => {
  const address = String(request[0]?.url ?? request[0]);
  if (!address.includes("/gradio_api/queue/join")) return ask(...request);
  try {
    const answer = await ask(...request);
    if (answer.ok) tell("");
    else {
      const { error } = await answer.clone().json().catch(() => ({}));
      if (answer.status === 413) tell("This is too much for one request. Take a part of the conversation.");
      else if (error?.found) tell(`The server says: ${error.found}. ${error.remedy}.`);
      else tell("The server could not take this. Try again, or load the page anew.");
    }
    return answer;
  } catch (error) {
    if (error.name !== "AbortError") tell("The server does not answer. Is it still running?");
    throw error;
  }
};
