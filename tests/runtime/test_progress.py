from nbcad.runtime.progress import progress


def test_progress_in_a_log_is_lines_with_count_and_eta(capsys):
    for _ in progress(range(3), desc="reading", unit="file"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert all("\r" not in line and line.startswith("reading") for line in lines)
    assert "3/3" in lines[-1] and "file/s" in lines[-1]
