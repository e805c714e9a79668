package ai.lram.bench.report;

/** Text within markup. */
final class Html {
    private Html() {}

    static String text(String s) {
        return s.replace("&", "&amp;")
                .replace("<", "&lt;")
                .replace(">", "&gt;")
                .replace("\"", "&quot;")
                .replace("'", "&#39;");
    }
}
