package ai.lram.bench.report;

import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;

/** A report as one HTML file that needs nothing else: style and plots are inside, nothing is fetched. Single thread. */
public final class HtmlReport {
    private static final String STYLE =
            """
            :root{color-scheme:light dark;--text:#222;--back:#fff;--line:#ddd;--rule:#888;--box:#f4f4f4;--soft:#666}
            @media (prefers-color-scheme:dark){:root{--text:#ddd;--back:#16181c;--line:#3a3f47;--rule:#888;--box:#22262c;--soft:#9aa3ad}}
            body{font:15px/1.5 system-ui,sans-serif;color:var(--text);background:var(--back);max-width:60em;margin:2em auto;padding:0 1em}
            h1{font-size:1.6em}h2{font-size:1.2em;margin-top:2em}
            table{border-collapse:collapse;margin:1em 0;display:block;overflow-x:auto}
            th,td{padding:.25em .8em;text-align:right;border-bottom:1px solid var(--line)}
            th:first-child,td:first-child{text-align:left}thead th{border-bottom:2px solid var(--rule)}
            pre{background:var(--box);padding:.8em;overflow-x:auto}
            svg{width:100%;height:auto;margin:.5em 0;fill:var(--text)}svg line{stroke:var(--line)}
            .note{color:var(--soft);font-size:.9em}
            """;

    private final String title;
    private final StringBuilder body = new StringBuilder();

    public HtmlReport(String title) {
        this.title = title;
    }

    public HtmlReport heading(String text) {
        body.append("<h2>").append(Html.text(text)).append("</h2>\n");
        return this;
    }

    public HtmlReport paragraph(String text) {
        body.append("<p>").append(Html.text(text)).append("</p>\n");
        return this;
    }

    public HtmlReport note(String text) {
        body.append("<p class='note'>").append(Html.text(text)).append("</p>\n");
        return this;
    }

    /** Text as typed, e.g. commands. */
    public HtmlReport code(String text) {
        body.append("<pre>").append(Html.text(text)).append("</pre>\n");
        return this;
    }

    /** @param rows each as long as {@code header} */
    public HtmlReport table(List<String> header, List<List<String>> rows) {
        body.append("<table><thead><tr>");
        header.forEach(h -> body.append("<th>").append(Html.text(h)).append("</th>"));
        body.append("</tr></thead><tbody>\n");
        for (List<String> row : rows) {
            if (row.size() != header.size()) {
                throw new IllegalArgumentException(
                        "a row has " + row.size() + " cells under " + header.size() + " headings");
            }
            body.append("<tr>");
            row.forEach(cell -> body.append("<td>").append(Html.text(cell)).append("</td>"));
            body.append("</tr>\n");
        }
        body.append("</tbody></table>\n");
        return this;
    }

    /** @param svg as drawn by {@link SvgPlot} */
    public HtmlReport figure(String svg) {
        body.append("<figure style='margin:0'>").append(svg).append("</figure>\n");
        return this;
    }

    public String html() {
        return "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
                + "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'\">"
                + "<title>" + Html.text(title) + "</title><style>\n" + STYLE + "</style></head><body>\n<h1>"
                + Html.text(title) + "</h1>\n"
                + body + "</body></html>\n";
    }

    /** @throws ReportException if the file cannot be written */
    public void write(Path file) {
        ReportFiles.write(file, html().getBytes(StandardCharsets.UTF_8));
    }
}
