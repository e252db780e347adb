"""thousands of digits, but inside a string; and numbers at the edge of what is allowed"""
def act(obs):
    return ['9' * 5000, 2 ** 63 - 1, -2 ** 63, 1.7976931348623157e308, 5e-324, 0.1234567890123456789, -0.0]
