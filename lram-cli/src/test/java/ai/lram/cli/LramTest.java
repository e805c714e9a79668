package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.BackendUnavailableException;
import ai.lram.backend.NonFiniteException;
import ai.lram.bench.WrongAnswerException;
import java.io.PrintWriter;
import java.io.StringWriter;
import org.junit.jupiter.api.Test;
import picocli.CommandLine;
import picocli.CommandLine.Command;

class LramTest {
    private final StringWriter out = new StringWriter();
    private final StringWriter err = new StringWriter();

    private int run(CommandLine command, String... arguments) {
        return command.setOut(new PrintWriter(out, true))
                .setErr(new PrintWriter(err, true))
                .execute(arguments);
    }

    @Test
    void helpNamesEveryCommand() {
        CommandLine command = Lram.commandLine();
        assertEquals(0, run(command, "--help"));
        for (String name : command.getSubcommands().keySet()) {
            assertTrue(out.toString().contains("\n  " + name), name + " in:\n" + out);
        }
    }

    @Test
    void everyCommandExplainsItself() {
        for (String name : Lram.commandLine().getSubcommands().keySet()) {
            out.getBuffer().setLength(0);
            assertEquals(0, run(Lram.commandLine(), "help", name));
            assertTrue(out.toString().contains("Usage: lram " + name), name + ":\n" + out);
        }
    }

    @Test
    void versionNamesTheProgramAndTheJdk() {
        assertEquals(0, run(Lram.commandLine(), "--version"));
        assertTrue(out.toString().startsWith("lram "), out.toString());
        assertTrue(out.toString().contains("Java " + Runtime.version()), out.toString());
    }

    @Test
    void badUsageEndsWithTwoAndSaysWhatWasWrong() {
        assertEquals(2, run(Lram.commandLine()));
        assertTrue(err.toString().startsWith("a command is missing"), err.toString());
        assertEquals(2, run(Lram.commandLine(), "dance"));
        assertTrue(err.toString().contains("'dance'"), err.toString());
        assertEquals(2, run(Lram.commandLine(), "doctor", "--devise", "cpu"));
        assertTrue(err.toString().contains("'--devise'"), err.toString());
        assertEquals("", out.toString());
    }

    @Test
    void argumentFilesAreNotExpanded() {
        assertEquals(2, run(Lram.commandLine(), "@pom.xml"));
        assertTrue(err.toString().contains("'@pom.xml'"), err.toString());
    }

    @Test
    void doctorNamesTheMachineAndTheEngine() {
        assertEquals(0, run(Lram.commandLine(), "doctor", "--device", "cpu"));
        for (String line : new String[] {"JDK", "processor", "vectors", "OpenBLAS", "engine", "chosen     cpu"}) {
            assertTrue(out.toString().contains(line), line + " in:\n" + out);
        }
        assertEquals("", err.toString());
    }

    @Test
    void doctorSaysWhatAServerWouldRunOn() {
        assertEquals(0, run(Lram.commandLine(), "doctor"));
        assertTrue(out.toString().contains("\nserving    the "), out.toString());
    }

    @Test
    void anEngineThatDoesNotExistEndsWithTwo() {
        assertEquals(2, run(Lram.commandLine(), "doctor", "--device", "abacus"));
        assertTrue(err.toString().contains("lram: no engine for device=abacus; why: "), err.toString());
        assertFalse(err.toString().contains("\tat "), err.toString());
    }

    @Test
    void exitCodesTellWrongInputFromFailuresAndDefects() {
        assertEquals(2, run(throwing(new BackendUnavailableException("a", "b", "c"))));
        assertEquals("lram: a; why: b; fix: c" + System.lineSeparator(), err.toString());
        assertEquals(1, run(throwing(new NonFiniteException("a", "b", "c"))));
        assertFalse(err.toString().contains("\tat "), err.toString());
        assertEquals(1, run(throwing(new WrongAnswerException("a", "b", "c"))));
        assertFalse(err.toString().contains("\tat "), err.toString());
        assertEquals(1, run(throwing(new IllegalStateException("a defect"))));
        assertTrue(err.toString().contains("IllegalStateException: a defect"), err.toString());
        assertTrue(err.toString().contains("\tat "), "a defect shows where it is");
    }

    private static CommandLine throwing(RuntimeException e) {
        return new CommandLine(new Throwing(e)).setExecutionExceptionHandler(new ErrorReport());
    }

    @Command(name = "throwing")
    private record Throwing(RuntimeException cause) implements Runnable {
        @Override
        public void run() {
            throw cause;
        }
    }
}
