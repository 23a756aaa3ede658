// Browsers start no workers for pages that are opened from a folder. This one runs in a hidden frame instead, so that
// the search works without a server and without a network.
if (location.protocol === "file:") {
  window.IFrameWorker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.appendChild(frame);
      this.inside = frame.contentWindow;
      addEventListener("message", (event) => {
        if (event.source !== this.inside) return;
        const passed = new MessageEvent("message", { data: event.data });
        this.dispatchEvent(passed);
        if (this.onmessage) this.onmessage(passed);
      });
      this.ready = new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
      const script = `<script>postMessage = (data) => parent.dispatchEvent(new MessageEvent("message",
        { source: window, data }));</script><script src="${url}"></script>`;
      this.inside.document.open();
      this.inside.document.write(`<!doctype html><html><head></head><body>${script}</body></html>`);
      this.inside.document.close();
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.inside.frameElement.remove();
    }
  };
  window.Worker = window.IFrameWorker;
}
