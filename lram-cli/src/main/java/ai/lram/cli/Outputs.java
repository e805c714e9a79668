package ai.lram.cli;

import java.io.PrintWriter;
import java.util.ArrayList;
import java.util.List;

/** Tables on the terminal. */
final class Outputs {
    private Outputs() {}

    /** Columns as wide as their widest cell; the first is left-aligned, the others right-aligned. */
    static void table(PrintWriter out, List<String> header, List<List<String>> rows) {
        List<List<String>> all = new ArrayList<>();
        all.add(header);
        all.addAll(rows);
        int[] widths = new int[header.size()];
        for (List<String> row : all) {
            for (int i = 0; i < widths.length; i++) {
                widths[i] = Math.max(widths[i], row.get(i).length());
            }
        }
        for (List<String> row : all) {
            StringBuilder line = new StringBuilder();
            for (int i = 0; i < widths.length; i++) {
                String pad = " ".repeat(widths[i] - row.get(i).length());
                line.append(i == 0 ? "" : "  ").append(i == 0 ? row.get(i) + pad : pad + row.get(i));
            }
            out.println(line.toString().stripTrailing());
        }
        out.flush();
    }
}
