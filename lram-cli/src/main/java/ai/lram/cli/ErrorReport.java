package ai.lram.cli;

import ai.lram.agent.train.TrainingDivergedException;
import ai.lram.backend.BackendException;
import ai.lram.backend.BackendUnavailableException;
import ai.lram.bench.WrongAnswerException;
import picocli.CommandLine;
import picocli.CommandLine.ExitCode;
import picocli.CommandLine.IExecutionExceptionHandler;
import picocli.CommandLine.ParseResult;

/**
 * Turns what a command throws into one line and an exit code. Our own typed errors say what, why and fix, so they need no
 * stack trace: 2 if the input or the machine must change, 1 if an engine or a training failed under way or a benchmark found wrong answers.
 * Anything else is a defect and shows its trace.
 */
final class ErrorReport implements IExecutionExceptionHandler {
    private static final String OURS = "ai.lram.";

    @Override
    public int handleExecutionException(Exception e, CommandLine command, ParseResult parsed) {
        if (!e.getClass().getName().startsWith(OURS)) {
            command.getErr().println("lram: this should not have happened; please report it:");
            e.printStackTrace(command.getErr());
            return ExitCode.SOFTWARE;
        }
        command.getErr().println("lram: " + e.getMessage());
        boolean failed = e instanceof BackendException && !(e instanceof BackendUnavailableException)
                || e instanceof TrainingDivergedException
                || e instanceof WrongAnswerException;
        return failed ? ExitCode.SOFTWARE : ExitCode.USAGE;
    }
}
