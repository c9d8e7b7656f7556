"""A page of a study in a real browser."""


class Opened:
    """A page, and whatever it did that it must not."""

    def __init__(self, browser, path, theme="light", width=1280, **options):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=theme, **options
        )
        self.page, self.address = self.context.new_page(), path.as_uri()
        self.faults, self.requests = [], []
        self.page.on("console", lambda message: self.faults.append(message.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(self.address)

    def _dialog(self, dialog):
        self.faults.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def drawn(self, theme=None):
        """Waits until all charts are there."""
        value = f"='{theme}'" if theme else ""
        self.page.locator(f"html[data-drawn{value}]").wait_for(state="attached", timeout=60_000)
        return self.page

    def close(self):
        """Nothing must have gone wrong, and nothing but the file itself be asked for."""
        self.context.close()
        assert self.faults == []
        assert [url for url in self.requests if not url.startswith("data:")] == [self.address]
