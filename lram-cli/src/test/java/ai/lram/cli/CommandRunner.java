package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Path;
import java.util.Arrays;

/** Runs commands as the program does and keeps what they print. */
final class CommandRunner {
    String out = "";
    String err = "";

    int run(Object... arguments) {
        StringWriter o = new StringWriter();
        StringWriter e = new StringWriter();
        int status = Lram.commandLine()
                .setOut(new PrintWriter(o, true))
                .setErr(new PrintWriter(e, true))
                .execute(Arrays.stream(arguments)
                        .map(a -> a instanceof Path p ? p.toString() : String.valueOf(a))
                        .toArray(String[]::new));
        out = o.toString();
        err = e.toString();
        return status;
    }

    /** The command must succeed. */
    void good(Object... arguments) {
        assertEquals(0, run(arguments), () -> Arrays.toString(arguments) + ":\n" + err);
    }

    /** The command must end with 2 and one sentence of what, why and fix that holds {@code text}. */
    void bad(String text, Object... arguments) {
        assertEquals(2, run(arguments), () -> Arrays.toString(arguments) + ":\n" + out + err);
        String sentence = err.lines().filter(l -> l.startsWith("lram: ")).reduce("", (a, b) -> b);
        assertTrue(sentence.contains("; why: ") && sentence.contains("; fix: "), err);
        assertTrue(sentence.contains(text), "no '" + text + "' in: " + err);
        assertFalse(err.contains("\tat "), err);
    }
}
